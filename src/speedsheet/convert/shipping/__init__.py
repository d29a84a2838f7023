"""The zoo's models: exported by their frameworks, shipped as graphs and recipes, put together where they are used."""
