//! The programs as an ELF object in memory, the input of `aya`: a section for each program, one with the definitions of
//! the maps, and a relocation for each instruction that names a map.

use object::{
    Architecture, BinaryFormat, Endianness, RelocationEncoding, RelocationFlags, RelocationKind, SectionKind,
    SymbolFlags, SymbolKind, SymbolScope,
    write::{Object, Relocation, SectionId, Symbol, SymbolId, SymbolSection},
};

use super::{
    error::SpreadError,
    maps::{Definition, Map},
    program::{Hook, program},
};

/// The helpers that the programs call are available with any licence.
const LICENSE: &[u8] = b"MIT\0";

pub(super) fn object_file() -> Result<Vec<u8>, SpreadError> {
    let mut object = Object::new(BinaryFormat::Elf, Architecture::Bpf, Endianness::Little);
    let license = object.add_section(Vec::new(), b"license".to_vec(), SectionKind::Data);
    object.append_section_data(license, LICENSE, 1);
    let section = object.add_section(Vec::new(), b"maps".to_vec(), SectionKind::Data);
    let maps = Map::ALL.map(|map| {
        let symbol = symbol(&mut object, map.name(), section, SymbolKind::Data, &map.definition().bytes());
        (map, symbol)
    });
    for hook in Hook::ALL {
        add_program(&mut object, hook, &maps).map_err(|error| SpreadError::Object(error.to_string()))?;
    }
    object.write().map_err(|error| SpreadError::Object(error.to_string()))
}

fn add_program(object: &mut Object<'_>, hook: Hook, maps: &[(Map, SymbolId)]) -> Result<(), object::write::Error> {
    // A program with a jump to nowhere has no code, and the loader reports it.
    let Some(code) = program(hook) else { return Ok(()) };
    let section = object.add_section(Vec::new(), hook.section().into(), SectionKind::Text);
    symbol(object, hook.name(), section, SymbolKind::Text, &code.bytes);
    for (offset, named) in code.maps {
        let Some(&(_, symbol)) = maps.iter().find(|(map, _)| *map == named) else { continue };
        let flags = RelocationFlags::Generic {
            kind: RelocationKind::Absolute,
            encoding: RelocationEncoding::Generic,
            size: 64,
        };
        object.add_relocation(section, Relocation { offset, symbol, addend: 0, flags })?;
    }
    Ok(())
}

fn symbol(object: &mut Object<'_>, name: &str, section: SectionId, kind: SymbolKind, data: &[u8]) -> SymbolId {
    let symbol = object.add_symbol(Symbol {
        name: name.as_bytes().to_vec(),
        value: 0,
        size: 0,
        kind,
        scope: SymbolScope::Dynamic,
        weak: false,
        section: SymbolSection::Undefined,
        flags: SymbolFlags::None,
    });
    object.add_symbol_data(symbol, section, data, 8);
    symbol
}

impl Definition {
    /// The bytes in a section named `maps`.
    fn bytes(self) -> [u8; 20] {
        let Self { kind, key_bytes, value_bytes, entries, flags } = self;
        let mut bytes = [0; 20];
        for (place, field) in bytes.chunks_exact_mut(4).zip([kind, key_bytes, value_bytes, entries, flags]) {
            place.copy_from_slice(&field.to_le_bytes());
        }
        bytes
    }
}
