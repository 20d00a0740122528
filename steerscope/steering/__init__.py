"""Every change of activations: operators, scopes, strengths, interventions, composition."""
