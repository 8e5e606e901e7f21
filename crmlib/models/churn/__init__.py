"""Who leaves, when and why: definitions, spells, risk by reason, and rankers."""
