"""A build told afterwards: where the time went, what the layers weigh, on one page of HTML."""
