"""Types, errors and rules that every other layer shares; numpy and PyYAML only."""
