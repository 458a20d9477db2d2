"""A page to look at archives: samples, activations, figures and marks of any stretch, decoded on demand."""
