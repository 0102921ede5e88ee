//! Which device trains. The only place of this crate that knows the target.
//!
//! Enters: a choice. Leaves: an open device and its description for people. `Auto` takes a GPU only
//! where it is one: a software adapter computes slower than the CPU backend. Every opening acquires
//! a fresh device, so that a lost one can be replaced.

use burn::tensor::Device;
use burn::tensor::wgpu::{WgpuSetup, wgpu};
use tributary_protocol::job::{Backend, DeviceChoice, DeviceInfo};
use tributary_protocol::limits::MAX_TEXT;

/// Names under which software adapters are known, in lower case.
const SOFTWARE: [&str; 6] = ["swiftshader", "llvmpipe", "lavapipe", "softpipe", "basic render", "software"];

/// GPU commands that are handed over at once. More keep a GPU busier; fewer let a Stop through.
const COMMANDS: usize = 32;

/// An open device.
pub(crate) struct Opened {
    pub(crate) device: Device,
    pub(crate) info: DeviceInfo,
}

impl Opened {
    /// Whether work is queued on a device that computes beside us.
    pub(crate) fn is_gpu(&self) -> bool {
        self.info.backend != Backend::Cpu
    }
}

/// Opens a device for whoever wants to compute on it beside a worker: benches and tests.
///
/// # Errors
///
/// Says in a sentence why it can't.
pub async fn open_device(choice: DeviceChoice) -> Result<(Device, DeviceInfo), String> {
    open(choice).await.map(|opened| (opened.device, opened.info))
}

/// Opens the device that `choice` names. Says in a sentence why it can't.
pub(crate) async fn open(choice: DeviceChoice) -> Result<Opened, String> {
    match choice {
        DeviceChoice::Cpu => Ok(cpu(None)),
        DeviceChoice::Gpu => match adapter().await {
            Ok(found) => connect(found).await,
            Err(why) => Err(format!("There is no GPU to train on ({why}). Choose the CPU, or let the program choose.")),
        },
        DeviceChoice::Auto => {
            let found = match adapter().await {
                Ok(found) => found,
                Err(why) => return Ok(cpu(Some(format!("No GPU was found ({why}), so the processor trains.")))),
            };
            if found.is_software() {
                let note =
                    format!("The only GPU here is emulated ({}), which is slower than the processor.", found.name);
                return Ok(cpu(Some(note)));
            }
            let name = found.name.clone();
            match connect(found).await {
                Ok(opened) => Ok(opened),
                Err(why) => {
                    Ok(cpu(Some(format!("The GPU {name} could not be opened ({why}), so the processor trains."))))
                }
            }
        }
    }
}

fn cpu(note: Option<String>) -> Opened {
    let info = DeviceInfo { backend: Backend::Cpu, name: platform::cpu_name(), note };
    Opened { device: Device::flex(), info }
}

struct Found {
    instance: wgpu::Instance,
    adapter: wgpu::Adapter,
    name: String,
}

impl Found {
    fn is_software(&self) -> bool {
        let name = self.name.to_lowercase();
        self.adapter.get_info().device_type == wgpu::DeviceType::Cpu || SOFTWARE.iter().any(|soft| name.contains(soft))
    }
}

/// The adapter that the platform prefers for heavy work.
async fn adapter() -> Result<Found, String> {
    // Not OpenGL: where it is the only way to a GPU, that way deadlocks under many small kernels.
    let descriptor = wgpu::InstanceDescriptor {
        backends: wgpu::Backends::PRIMARY,
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    };
    let instance = wgpu::Instance::new(descriptor);
    let options =
        wgpu::RequestAdapterOptions { power_preference: wgpu::PowerPreference::HighPerformance, ..Default::default() };
    let adapter = match instance.request_adapter(&options).await {
        Ok(adapter) => adapter,
        Err(error) => return Err(platform::no_adapter(&error)),
    };
    let mut name = platform::adapter_name(&adapter.get_info()).await;
    name.truncate(name.floor_char_boundary(MAX_TEXT));
    Ok(Found { instance, adapter, name })
}

async fn connect(found: Found) -> Result<Opened, String> {
    let Found { instance, adapter, name } = found;
    // Everything stable that the adapter has. Mappable primary buffers make discrete cards read
    // over the bus; experimental features need a promise that nobody here can give.
    let features =
        adapter.features() - wgpu::Features::MAPPABLE_PRIMARY_BUFFERS - wgpu::Features::all_experimental_mask();
    let descriptor = wgpu::DeviceDescriptor {
        required_features: features,
        required_limits: adapter.limits(),
        memory_hints: wgpu::MemoryHints::MemoryUsage,
        ..Default::default()
    };
    let (device, queue) = adapter.request_device(&descriptor).await.map_err(|error| error.to_string())?;
    let backend = adapter.get_info().backend;
    let setup = WgpuSetup { instance, adapter, device, queue, backend };
    let device = Device::wgpu_options().tasks_max(COMMANDS).setup(setup).init().map_err(|error| error.to_string())?;
    let info = DeviceInfo { backend: platform::GPU, name, note: None };
    Ok(Opened { device, info })
}

#[cfg(not(target_family = "wasm"))]
mod platform {
    use super::{Backend, wgpu};

    pub(super) const GPU: Backend = Backend::Wgpu;

    pub(super) fn cpu_name() -> String {
        let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
        format!("processor, {threads} threads")
    }

    pub(super) fn no_adapter(_: &wgpu::RequestAdapterError) -> String {
        "no driver for Vulkan, Metal or Direct3D 12 offers one".to_owned()
    }

    pub(super) async fn adapter_name(info: &wgpu::AdapterInfo) -> String {
        info.name.clone()
    }
}

#[cfg(target_family = "wasm")]
mod platform {
    use js_sys::{Function, Promise, Reflect};
    use wasm_bindgen::{JsCast, JsValue};
    use wasm_bindgen_futures::JsFuture;

    use super::{Backend, wgpu};

    pub(super) const GPU: Backend = Backend::WebGpu;

    pub(super) fn cpu_name() -> String {
        "processor, 1 thread".to_owned()
    }

    pub(super) fn no_adapter(_: &wgpu::RequestAdapterError) -> String {
        "this browser offers no WebGPU adapter".to_owned()
    }

    /// wgpu passes on only the description, which browsers leave empty for privacy; vendor and
    /// architecture are what they do tell.
    pub(super) async fn adapter_name(info: &wgpu::AdapterInfo) -> String {
        let told = told().await.unwrap_or_default();
        let words: Vec<&str> =
            [told.as_str(), info.name.as_str()].into_iter().filter(|word| !word.is_empty()).collect();
        if words.is_empty() { "unnamed GPU".to_owned() } else { words.join(" ") }
    }

    async fn told() -> Result<String, JsValue> {
        let get = |of: &JsValue, key: &str| Reflect::get(of, &JsValue::from_str(key));
        let gpu = get(&get(&js_sys::global(), "navigator")?, "gpu")?;
        let request: Function = get(&gpu, "requestAdapter")?.dyn_into()?;
        let options = js_sys::Object::new();
        Reflect::set(&options, &"powerPreference".into(), &"high-performance".into())?;
        let adapter: Promise = request.call1(&gpu, &options)?.dyn_into()?;
        let info = get(&JsFuture::from(adapter).await?, "info")?;
        let word = |key: &str| get(&info, key).ok().and_then(|value| value.as_string()).unwrap_or_default();
        Ok(format!("{} {}", word("vendor"), word("architecture")).trim().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::executor::block_on;

    #[test]
    fn auto_always_finds_something_and_says_why_it_is_the_processor() {
        let opened = block_on(open(DeviceChoice::Auto)).unwrap();
        assert_eq!(opened.info.backend == Backend::Cpu, opened.info.note.is_some(), "{:?}", opened.info);
        assert_eq!(block_on(open(DeviceChoice::Cpu)).unwrap().info.note, None);
    }
}
