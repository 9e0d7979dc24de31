"""What `make bench` is made of: servers, cases, measuring, programs, the report."""
