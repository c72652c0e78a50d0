"""Published results beside what noclone computes: one module each, graded, with every deviation stated."""
