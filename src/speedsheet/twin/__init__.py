"""The modelled card: operators of a graph, their cost on a described device, and what a published figure may be."""
