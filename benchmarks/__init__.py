"""`make bench`: Stoker beside what people use today, on one machine, by one method."""
