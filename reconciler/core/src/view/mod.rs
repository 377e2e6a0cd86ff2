//! Values to output: one file per form.
