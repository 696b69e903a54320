"""What the pages show, read from the stores: a module a page. Reads only, and knows no Streamlit."""
