"""Outside token issuers: whose signatures count, and which claims make whom."""
