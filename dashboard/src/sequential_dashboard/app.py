"""The script that Streamlit runs for each session: the gate, then the page of the address."""

import streamlit as st

from sequential_dashboard.navigation import pages

st.set_page_config("Sequential", page_icon=":material/footprint:", layout="wide")
pages().run()
