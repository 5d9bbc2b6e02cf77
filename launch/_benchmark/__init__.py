"""What ``launch.benchmark`` is made of: problems, peers in processes of their own, suites."""
