//! `#[derive(State)]`.

use crate::attrs::{check_schema, fields};
use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::punctuated::Punctuated;
use syn::{DeriveInput, Error, Field, LitStr, Path, Result, Token};

/// What `#[state(…)]` on the type says.
struct Shape {
    schema: LitStr,
    older: Vec<Path>,
}

impl Shape {
    fn parse(input: &DeriveInput) -> Result<Shape> {
        let mut schema: Option<LitStr> = None;
        let mut older = Vec::new();
        for attr in input.attrs.iter().filter(|a| a.path().is_ident("state")) {
            attr.parse_nested_meta(|meta| {
                if meta.path.is_ident("schema") {
                    let literal: LitStr = meta.value()?.parse()?;
                    check_schema(&literal)?;
                    schema = Some(literal);
                } else if meta.path.is_ident("also") {
                    let content;
                    syn::parenthesized!(content in meta.input);
                    older.extend(Punctuated::<Path, Token![,]>::parse_terminated(&content)?);
                } else {
                    return Err(meta.error("not one of schema, also"));
                }
                Ok(())
            })?;
        }
        let missing = || Error::new_spanned(input, "needs #[state(schema = \"NAME/1\")]");
        Ok(Shape { schema: schema.ok_or_else(missing)?, older })
    }
}

fn has_default(field: &Field) -> Result<bool> {
    let mut default = false;
    for attr in field.attrs.iter().filter(|a| a.path().is_ident("state")) {
        attr.parse_nested_meta(|meta| {
            if !meta.path.is_ident("default") {
                return Err(meta.error("not `default`"));
            }
            default = true;
            Ok(())
        })?;
    }
    Ok(default)
}

/// Derives `State` and `Schema`.
pub(crate) fn state(input: &DeriveInput) -> Result<TokenStream> {
    let ty = &input.ident;
    let shape = Shape::parse(input)?;
    let schema = schema_impl(input, &shape.schema)?;
    let older = &shape.older;
    let name = quote!(<Self as ::steadfast_driver::Schema>::SCHEMA);
    let all = quote!(&[#name, #(<#older as ::steadfast_driver::Schema>::SCHEMA),*]);
    let private = quote!(::steadfast_driver::private);
    Ok(quote! {
        #schema

        impl ::steadfast_driver::State for #ty {
            const WRITES: &'static [&'static str] = #all;
            const READS: &'static [&'static str] = #all;

            fn save(
                &self,
                sink: &mut dyn FnMut(&str, &[u8]) -> ::steadfast_driver::Result<()>,
            ) -> ::steadfast_driver::Result<()> {
                #private::save_schema(self, sink)?;
                #( #private::save_schema(&<#older as ::core::convert::From<&Self>>::from(self), sink)?; )*
                ::core::result::Result::Ok(())
            }

            fn load<'b>(
                source: &dyn Fn(&str) -> ::steadfast_driver::Result<::core::option::Option<&'b [u8]>>,
            ) -> ::steadfast_driver::Result<::core::option::Option<Self>> {
                if let ::core::option::Option::Some(state) = #private::load_schema::<Self>(source)? {
                    return ::core::result::Result::Ok(::core::option::Option::Some(state));
                }
                #( if let ::core::option::Option::Some(state) = #private::load_schema::<#older>(source)? {
                    let state = <Self as ::core::convert::From<#older>>::from(state);
                    return ::core::result::Result::Ok(::core::option::Option::Some(state));
                } )*
                ::core::result::Result::Ok(::core::option::Option::None)
            }
        }
    })
}

fn schema_impl(input: &DeriveInput, schema: &LitStr) -> Result<TokenStream> {
    let ty = &input.ident;
    let cbor = quote!(::steadfast_driver::private::minicbor);
    let (mut puts, mut slots, mut arms, mut takes) =
        (TokenStream::new(), TokenStream::new(), TokenStream::new(), TokenStream::new());
    let fields = fields(input)?;
    let count = fields.len() as u64;
    for (index, field) in fields.iter().enumerate() {
        let ident = field.ident.as_ref().ok_or_else(|| Error::new_spanned(field, "needs a name"))?;
        let key = ident.to_string();
        let key = key.trim_start_matches("r#");
        let slot = format_ident!("field_{index}");
        let field_ty = &field.ty;
        puts.extend(quote!(sink.str(#key)?.encode(&self.#ident)?;));
        slots
            .extend(quote!(let mut #slot: ::core::option::Option<#field_ty> = ::core::option::Option::None;));
        arms.extend(quote!(#key => #slot = ::core::option::Option::Some(input.decode()?),));
        let missing = format!("key \"{key}\" is missing");
        takes.extend(if has_default(field)? {
            quote!(#ident: #slot.unwrap_or_default(),)
        } else {
            quote!(#ident: #slot.ok_or_else(|| #cbor::decode::Error::message(#missing))?,)
        });
    }
    Ok(quote! {
        impl ::steadfast_driver::Schema for #ty {
            const SCHEMA: &'static str = #schema;

            fn encode(
                &self,
                sink: &mut ::steadfast_driver::private::Sink<'_>,
            ) -> ::core::result::Result<(), #cbor::encode::Error<::steadfast_driver::private::EndOfSlice>> {
                sink.map(#count)?;
                #puts
                ::core::result::Result::Ok(())
            }

            fn decode(bytes: &[u8]) -> ::core::result::Result<Self, #cbor::decode::Error> {
                let mut input = #cbor::Decoder::new(bytes);
                #slots
                let mut left = input.map()?;
                loop {
                    match &mut left {
                        ::core::option::Option::Some(0) => break,
                        ::core::option::Option::Some(n) => *n -= 1,
                        ::core::option::Option::None if input.datatype()? == #cbor::data::Type::Break => break,
                        ::core::option::Option::None => {}
                    }
                    match input.str()? {
                        #arms
                        _ => input.skip()?,
                    }
                }
                ::core::result::Result::Ok(#ty { #takes })
            }
        }
    })
}
