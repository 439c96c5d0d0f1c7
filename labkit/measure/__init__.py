"""Measurements that can be compared: scenarios, a seeded interleaved schedule, and what carries it out."""
