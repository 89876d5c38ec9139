"""Networks: layers as data, and the models that are made of them."""
