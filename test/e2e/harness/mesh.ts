import { mkdir, mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ClientMethods } from "../programs/client.ts";
import type { ControlPlaneMethods, ControlPlaneOptions, ControlPlaneReady } from "../programs/control-plane.ts";
import type { ServiceMethods, ServiceOptions, ServiceReady } from "../programs/service.ts";
import { start, type Program, type StartOptions } from "./program.ts";
import { workloadEntry, type Entry } from "./yaml.ts";

export type Client = Program<ClientMethods>;
export type Service = Program<ServiceMethods> & { readonly port: number; readonly entry: Entry };
export type ControlPlane = Program<ControlPlaneMethods> & ControlPlaneReady;

export interface Identity {
  /** Default `shop`. */
  readonly namespace?: string;
  readonly account: string;
}

export interface ServiceStart extends Partial<Identity>, Partial<ServiceOptions> {
  readonly app: string;
  /** Default: `<app>-<version>`. */
  readonly name?: string;
  /** Default true: a WorkloadEntry makes it known. */
  readonly register?: boolean;
  readonly execArgv?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** One mesh of a test file: its own folder, YAML, control plane and processes. */
export interface TestMesh {
  readonly folder: string;
  readonly controlPlane: ControlPlane;
  /** Writes a policy file as an editor does it: to a new file, then renamed over the old one. */
  write(name: string, yaml: string): Promise<void>;
  remove(name: string): Promise<void>;
  /** What a platform would register: the instances of the services. */
  register(entry: Entry): Promise<void>;
  deregister(name: string): Promise<void>;
  service(options: ServiceStart): Promise<Service>;
  client(identity: Identity, more?: Partial<StartOptions>): Promise<Client>;
  /** What joins a process to this mesh. */
  environment(identity: Identity, workload: string, labels?: string): Promise<Record<string, string>>;
  /** SIGKILL, as a crash would do it. */
  killControlPlane(): Promise<void>;
  /** On the same port and data folder, as a supervisor would do it. */
  startControlPlane(): Promise<void>;
  /** Ends every process, and takes the folder away. Throws when one did not end when told to. */
  close(): Promise<void>;
}

export interface MeshStart {
  /** Policy files by name. */
  readonly yaml?: Readonly<Record<string, string>>;
  readonly controlPlane?: Partial<ControlPlaneOptions>;
  /** How its process is started. */
  readonly process?: Pick<StartOptions, "env" | "execArgv" | "execPath">;
}

export async function startMesh({
  yaml = {},
  controlPlane: more = {},
  process = {},
}: MeshStart = {}): Promise<TestMesh> {
  const folder = await mkdtemp(join(tmpdir(), "trama-e2e-"));
  const policyDir = join(folder, "policy");
  const workloadsDir = join(folder, "workloads");
  await mkdir(policyDir);
  await mkdir(workloadsDir);
  const running: Program<never>[] = [];
  const entries = new Map<string, Entry>();
  /** A token serves all processes of its account, those that start while the control plane is away included. */
  const tokens = new Map<string, string>();

  const launch = async (port: number): Promise<ControlPlane> => {
    const program = await start<ControlPlaneMethods>({
      name: "control plane",
      file: "control-plane.ts",
      options: {
        configDirs: [policyDir, workloadsDir],
        dataDir: join(folder, "control-plane"),
        host: "127.0.0.1",
        port,
        httpPort: 0,
        ...more,
      },
      ...process,
    });
    return { ...program, ...(program.ready as ControlPlaneReady) };
  };

  const write = async (dir: string, name: string, text: string): Promise<void> => {
    await writeFile(join(dir, `.${name}.new`), text);
    await rename(join(dir, `.${name}.new`), join(dir, name));
  };
  // One write at a time: two at once could leave the older list on disk.
  let writing: Promise<void> = Promise.resolve();
  const writeEntries = (): Promise<void> =>
    (writing = writing.then(() =>
      write(workloadsDir, "workloads.yaml", [...entries.values()].map(workloadEntry).join("---\n")),
    ));

  for (const [name, text] of Object.entries(yaml)) await write(policyDir, name, text);
  let controlPlane = await launch(0).catch(async (error: unknown) => {
    await rm(folder, { recursive: true, force: true });
    throw error;
  });

  const mesh: TestMesh = {
    folder,
    get controlPlane() {
      return controlPlane;
    },
    write: (name, text) => write(policyDir, name, text),
    remove: (name) => rm(join(policyDir, name)),
    register(entry) {
      entries.set(entry.name, entry);
      return writeEntries();
    },
    deregister(name) {
      entries.delete(name);
      return writeEntries();
    },
    async service({ app, version = "v1", framework = "http", namespace = "shop", account = app, ...rest }) {
      const name = rest.name ?? `${app}-${version}`;
      const program = await start<ServiceMethods>({
        name,
        file: "service.ts",
        options: { framework, version } satisfies ServiceOptions,
        env: {
          ...(await mesh.environment({ namespace, account }, name, `app=${app},version=${version}`)),
          ...rest.env,
        },
        ...(rest.execArgv === undefined ? {} : { execArgv: rest.execArgv }),
      });
      running.push(program as Program<never>);
      const { port } = program.ready as ServiceReady;
      const portName = framework === "net" ? "tcp" : "http";
      const entry = { name, app, version, namespace, account, port, portName };
      if (rest.register !== false) await mesh.register(entry);
      return { ...program, port, entry };
    },
    async client(identity, more = {}) {
      const program = await start<ClientMethods>({
        name: `client ${identity.account}`,
        file: "client.ts",
        ...more,
        env: { ...(await mesh.environment(identity, identity.account)), ...more.env },
      });
      running.push(program as Program<never>);
      return program;
    },
    async environment({ namespace = "shop", account }, workload, labels = `app=${account},version=v1`) {
      const key = `${namespace}/${account}`;
      let token = tokens.get(key);
      if (token === undefined) {
        token = await controlPlane.call("issueToken", { namespace, serviceAccount: account, lifeSeconds: 3_600 });
        tokens.set(key, token);
      }
      return {
        TRAMA_CONTROL_PLANE: `127.0.0.1:${controlPlane.port}`,
        TRAMA_ROOT_CERT_FILE: controlPlane.rootCertFile,
        TRAMA_TOKEN: token,
        TRAMA_WORKLOAD: workload,
        TRAMA_LABELS: labels,
        // Nobody here depends on a stopped server but the test of the drain, which takes the default.
        TRAMA_DRAIN_MS: "50",
      };
    },
    async killControlPlane() {
      controlPlane.kill("SIGKILL");
      await controlPlane.stop();
    },
    async startControlPlane() {
      controlPlane = await launch(controlPlane.port);
    },
    async close() {
      // Callers before services, the control plane last: nothing here may depend on a clean end of the other side.
      const stubborn: string[] = [];
      for (const group of [running.filter(isClient), running.filter((one) => !isClient(one)), [controlPlane as never]])
        await Promise.all(
          (group as Program<never>[]).map(async (program) => {
            const { forced } = await program.stop();
            if (forced === true) stubborn.push(`${program.name}\n${program.output()}`);
          }),
        );
      await rm(folder, { recursive: true, force: true });
      if (stubborn.length > 0) throw new Error(`did not end on SIGTERM: ${stubborn.join(", ")}`);
    },
  };
  return mesh;
}

function isClient({ name }: { readonly name: string }): boolean {
  return name.startsWith("client ");
}
