"""How the console writes dates: for people in several countries, so neither month names nor a.m. and p.m."""
