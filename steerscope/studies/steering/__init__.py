"""The main job: where, how hard and whether a model can be steered."""
