"""The site's hosts: scripts run on them as root, over ssh or on this machine."""
