"""The office: what an error target costs the plant, and the passport of a letter."""
