"""What runs in processes of engines, without synfire: packages that import each other, and nothing of it. `begin.py` begins one."""
