"""The dashboard: ``sequential dashboard --storage URL``; found through its entry point.

What is shown is worked out in plain modules that know no Streamlit; `views` draws it. Importing
this package imports neither Streamlit nor pandas.
"""
