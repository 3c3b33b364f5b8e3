"""People of LDAP directories: who binds there is somebody here, with the directory's groups."""
