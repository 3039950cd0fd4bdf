"""Webhooks: the URLs that events are posted to, and the deliveries."""
