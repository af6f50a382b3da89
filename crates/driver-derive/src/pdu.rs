//! `#[derive(Pdu)]`.

use crate::attrs::{check_schema, fields};
use proc_macro2::TokenStream;
use quote::quote;
use syn::{DeriveInput, Error, LitStr, Result};

/// Derives `Pdu`.
pub(crate) fn pdu(input: &DeriveInput) -> Result<TokenStream> {
    let ty = &input.ident;
    let mut repr_c = false;
    let mut schema: Option<LitStr> = None;
    for attr in &input.attrs {
        if attr.path().is_ident("repr") {
            attr.parse_nested_meta(|meta| {
                repr_c |= meta.path.is_ident("C");
                // `align(N)` and the like have content that is not of interest here.
                if meta.input.peek(syn::token::Paren) {
                    let content;
                    syn::parenthesized!(content in meta.input);
                    content.parse::<TokenStream>()?;
                }
                Ok(())
            })?;
        } else if attr.path().is_ident("pdu") {
            attr.parse_nested_meta(|meta| {
                if !meta.path.is_ident("schema") {
                    return Err(meta.error("not `schema`"));
                }
                let literal: LitStr = meta.value()?.parse()?;
                check_schema(&literal)?;
                schema = Some(literal);
                Ok(())
            })?;
        }
    }
    if !repr_c {
        return Err(Error::new_spanned(input, "needs #[repr(C)]: another release reads these bytes"));
    }
    // Without a schema it is a part of another PDU.
    let schema = schema.map_or_else(String::new, |s| s.value());
    let types: Vec<_> = fields(input)?.iter().map(|f| &f.ty).collect();
    Ok(quote! {
        const _: () = {
            const fn plain<T: ::steadfast_driver::Pdu>() {}
            #( plain::<#types>(); )*
        };
        // SAFETY: `repr(C)`, and every field is itself plain data, which was asked of the compiler above.
        unsafe impl ::steadfast_driver::Pdu for #ty {
            const SCHEMA: &'static str = #schema;
        }
    })
}
