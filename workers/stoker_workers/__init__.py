"""One message in, one result out: the side of Stoker that holds the models."""
