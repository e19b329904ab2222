"""Python functions as operators: how one is declared, what its annotations say, and the process that it runs in.

That process may belong to another environment than synfire's, with nothing but Python and numpy: so of synfire this folder imports
`synfire.base.errors` alone, and that imports nothing.
"""
