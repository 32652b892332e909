"""A reference interpreter of ML Programs: Core ML's MIL operators, computed by torch on any computer.

blob.py      reads the weight file of a package
program.py   the saved program as Python objects, constants decoded
operators.py which function computes which operator
ops/         the operators, one short function each, named and with parameters as in MIL
execute.py   runs a program
"""
