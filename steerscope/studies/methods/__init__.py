"""Which way of finding a direction steers best, at one KL and at one length."""
