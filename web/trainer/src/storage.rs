//! Files of this origin's own, in the browser's private file system.
//!
//! Refuses nothing: where a browser gives no storage (private windows, a full disk) what should be kept is not,
//! and what should be recalled is not there.

use js_sys::Promise;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use web_sys::{
    DedicatedWorkerGlobalScope, FileSystemDirectoryHandle, FileSystemFileHandle, FileSystemGetFileOptions,
    FileSystemSyncAccessHandle,
};

/// Bytes of one file that are read back at most: the rest of the largest model that a tab can hold.
const MOST: f64 = 512.0 * 1024.0 * 1024.0;

/// Writes a file in place of what was there.
pub(crate) async fn write(scope: &DedicatedWorkerGlobalScope, name: &str, bytes: &[u8]) -> Result<(), JsValue> {
    let file = Opened::new(scope, name, true).await?;
    file.0.truncate_with_u32(0)?;
    let written = file.0.write_with_u8_array(bytes)?;
    if written < bytes.len() as f64 {
        file.0.truncate_with_u32(0)?;
        return Err(JsValue::from_str("there is no room"));
    }
    file.0.flush()
}

/// A whole file.
pub(crate) async fn read(scope: &DedicatedWorkerGlobalScope, name: &str) -> Result<Vec<u8>, JsValue> {
    let file = Opened::new(scope, name, false).await?;
    let size = file.0.get_size()?;
    if size > MOST {
        return Err(JsValue::from_str("the file is too large"));
    }
    let mut bytes = vec![0; size as usize];
    let read = file.0.read_with_u8_array(&mut bytes)?;
    bytes.truncate(read as usize);
    Ok(bytes)
}

/// An open file, which nobody else can open until it is dropped.
struct Opened(FileSystemSyncAccessHandle);

impl Opened {
    async fn new(scope: &DedicatedWorkerGlobalScope, name: &str, create: bool) -> Result<Self, JsValue> {
        let root: FileSystemDirectoryHandle = awaited(scope.navigator().storage().get_directory()).await?;
        let options = FileSystemGetFileOptions::new();
        options.set_create(create);
        let file: FileSystemFileHandle = awaited(root.get_file_handle_with_options(name, &options)).await?;
        Ok(Self(awaited(file.create_sync_access_handle()).await?))
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.0.close();
    }
}

async fn awaited<T: JsCast>(promise: Promise) -> Result<T, JsValue> {
    JsFuture::from(promise).await?.dyn_into()
}
