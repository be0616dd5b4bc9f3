"""Certification: many small worlds whose truth is known, examined with the studies' own instrument."""
