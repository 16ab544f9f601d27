"""The lab: running simulations, drawing them, keeping what they wrote. It knows claims, never an idea."""
