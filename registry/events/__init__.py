"""CloudEvents to webhooks: a durable queue, filled from the outbox, delivered at least once.

``settings`` what is sent where; ``cloudevents`` and ``signing`` bytes; ``queue`` the file
``events.db``; ``follower`` outbox to queue; ``receiver`` one request; ``courier`` when and how
often; ``front`` start, reload and end. Without webhooks only settings and front are imported.
"""
