"""One problem judged: methods run by name, masks evaluated in float64, bounds beside them."""
