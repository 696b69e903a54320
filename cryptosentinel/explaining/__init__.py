"""Why a bundle forecasts what it forecasts: SHAP, LIME, importances."""
