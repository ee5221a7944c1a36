"""The pages: thin, one module each; what they show is worked out in the modules above them.

Not called `pages`: Streamlit would serve a folder of that name by itself, past the gate.
"""
