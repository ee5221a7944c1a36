"""The script that Streamlit runs for each session: the gate, then the page of the address."""

from pathlib import Path

import streamlit as st

from sequential_dashboard.navigation import pages

HERE = Path(__file__).parent

# A picture of our own: Streamlit's named icons are fetched from another server for this place.
st.set_page_config("Sequential", page_icon=HERE / "icon.svg", layout="wide")
st.html(HERE / "page.css")
pages().run()
