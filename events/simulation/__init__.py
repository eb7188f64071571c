"""The small world that samples are drawn from: clinics, payers, and what becomes of a claim between them."""
