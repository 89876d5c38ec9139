"""The ingredients of an experiment: plain functions, and one literal table at the foot of each file.

A new ingredient is one function and one row. The keys that a person may set (`huber:delta=1.5`) are the function's
keyword-only parameters; their annotations name the kinds of `nnlab.core.kinds`.
"""
