"""A real slapd of this machine, on loopback, with people and groups."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from registry.access.ldap.settings import LdapSettings
from tests.ports import free_port
from tests.registry.running import certificate
from tests.waiting import eventually

ROOT = "dc=example,dc=org"
SLAPD = shutil.which("slapd", path="/usr/sbin:/usr/bin:/sbin:/bin")

_CONFIGURATION = """
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
pidfile {folder}/pid
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload memberof
TLSCertificateFile {cert}
TLSCertificateKeyFile {key}
database mdb
suffix "dc=example,dc=org"
rootdn "cn=admin,dc=example,dc=org"
rootpw adminadmin
directory {folder}/db
overlay memberof
memberof-group-oc groupOfNames
access to attrs=userPassword by anonymous auth by * none
access to * by users read
"""

_PEOPLE = """
dn: dc=example,dc=org
objectClass: dcObject
objectClass: organization
o: example
dc: example

dn: ou=people,dc=example,dc=org
objectClass: organizationalUnit
ou: people

dn: ou=groups,dc=example,dc=org
objectClass: organizationalUnit
ou: groups

dn: cn=registry,dc=example,dc=org
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: registry
userPassword: service

{people}
dn: cn=dev,ou=groups,dc=example,dc=org
objectClass: groupOfNames
cn: dev
member: uid=ada,ou=people,dc=example,dc=org

dn: cn=ops,ou=groups,dc=example,dc=org
objectClass: groupOfNames
cn: ops
member: uid=ada,ou=people,dc=example,dc=org
member: uid=bob,ou=people,dc=example,dc=org
"""

_PERSON = """
dn: uid={name},ou=people,dc=example,dc=org
objectClass: inetOrgPerson
uid: {name}
cn: {name}
sn: {name}
employeeType: {kind}
userPassword: {name}{name}
"""


@dataclass
class Slapd:
    """A running directory."""

    process: subprocess.Popen[bytes]
    folder: Path
    port: int
    tls_port: int
    ca: Path

    def settings(self, **changes: Any) -> LdapSettings:
        """With a service account that searches."""
        secret = self.folder / "secret"
        secret.write_text("service\n")
        fields: dict[str, Any] = {
            "name": "corp",
            "url": f"ldap://127.0.0.1:{self.port}",
            "base": f"ou=people,{ROOT}",
            "active": "(!(employeeType=disabled))",
            "bind_dn": f"cn=registry,{ROOT}",
            "bind_password_file": secret,
            "group_base": f"ou=groups,{ROOT}",
            "timeout": 20.0,
        }
        return LdapSettings(**{**fields, **changes})

    def modify(self, text: str) -> None:
        self._tool("ldapmodify", text)

    def _tool(self, name: str, text: str) -> None:
        bind = ["-x", "-D", f"cn=admin,{ROOT}", "-w", "adminadmin"]
        url = f"ldap://127.0.0.1:{self.port}"
        subprocess.run(
            [name, "-H", url, *bind],
            input=text.encode(),
            check=True,
            timeout=60,
            stdout=subprocess.DEVNULL,
        )


@contextmanager
def slapd(folder: Path) -> Iterator[Slapd]:
    """Start one with Ada (dev, ops), Bob (ops) and Eve, who is disabled."""
    assert SLAPD is not None
    (folder / "db").mkdir(parents=True)
    cert, key = certificate(folder)
    configuration = folder / "slapd.conf"
    configuration.write_text(_CONFIGURATION.format(folder=folder, cert=cert, key=key))
    port, tls_port = free_port(), free_port()
    urls = f"ldap://127.0.0.1:{port} ldaps://127.0.0.1:{tls_port}"
    log = (folder / "log").open("wb")
    command = [SLAPD, "-d", "0", "-f", str(configuration), "-h", urls]
    process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        running = Slapd(process, folder, port, tls_port, cert)
        eventually(lambda: _answers(port))
        kinds = {"ada": "staff", "bob": "staff", "eve": "disabled"}
        people = "\n".join(_PERSON.format(name=name, kind=kind) for name, kind in kinds.items())
        running._tool("ldapadd", _PEOPLE.format(people=people))
        yield running
    finally:
        process.send_signal(signal.SIGCONT)
        process.terminate()
        process.wait(60)
        log.close()


def _answers(port: int) -> bool:
    time.sleep(0.05)
    command = ["ldapsearch", "-x", "-H", f"ldap://127.0.0.1:{port}", "-b", "", "-s", "base"]
    return subprocess.run(command, capture_output=True, timeout=60).returncode == 0
