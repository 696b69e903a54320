"""The dashboard: thin Streamlit pages over functions that know nothing of Streamlit.

`data` reads the store into small frames, `charts` draws them, `text` puts them into words; `shell` is what all pages
share, `page_list` what there is, and `app` starts it all, `served` around it. Pages only read.
"""
