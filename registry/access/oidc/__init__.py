"""Outside token issuers: whose signatures count, which claims make whom, and logging in there."""
