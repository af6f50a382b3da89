//! Derive macros of the driver SDK: typed parameters, typed state, private bytes.
//!
//! What they accept is documented with the traits of the same names in `steadfast-driver`.

mod attrs;
mod params;
mod pdu;
mod state;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Derives the manifest's parameter table and its loading.
#[proc_macro_derive(Params, attributes(param))]
pub fn derive_params(input: TokenStream) -> TokenStream {
    expand(params::params(&parse_macro_input!(input as DeriveInput)))
}

/// Derives a parameter's type from an enumeration; the names are the variants in kebab-case.
#[proc_macro_derive(ParamType)]
pub fn derive_param_type(input: TokenStream) -> TokenStream {
    expand(params::param_type(&parse_macro_input!(input as DeriveInput)))
}

/// Derives state that is kept as a CBOR map with text keys.
#[proc_macro_derive(State, attributes(state))]
pub fn derive_state(input: TokenStream) -> TokenStream {
    expand(state::state(&parse_macro_input!(input as DeriveInput)))
}

/// Derives the private bytes of a request.
#[proc_macro_derive(Pdu, attributes(pdu))]
pub fn derive_pdu(input: TokenStream) -> TokenStream {
    expand(pdu::pdu(&parse_macro_input!(input as DeriveInput)))
}

fn expand(result: syn::Result<proc_macro2::TokenStream>) -> TokenStream {
    result.unwrap_or_else(|e| e.to_compile_error()).into()
}
