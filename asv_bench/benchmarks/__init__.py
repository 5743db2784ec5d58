"""How fast is the planner, how good are its plans, and how has that changed?"""
