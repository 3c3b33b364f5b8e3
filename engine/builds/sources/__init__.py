"""The first station of an order: contexts and Dockerfiles from elsewhere become local."""
