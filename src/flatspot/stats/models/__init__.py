"""The models of a set's rewards: binary and graded, their mixing distributions, and what bounds them."""
