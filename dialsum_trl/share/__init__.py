"""Adapters that load elsewhere: their record, their card, and the way to the Hub."""
