"""Networks: layers as descriptions, and the models made of them."""
