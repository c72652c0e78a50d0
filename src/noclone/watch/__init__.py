"""Monitors: events -> alarms, from what the devices really report."""
