-- Temporal Fusion Transformer (Lim et al., arXiv 1912.09363), as pytorch-forecasting 1.8.0 has it.
--
-- Builds the graph of any exported model: every hyper-parameter, any set of variables, several
-- targets, ragged lengths. The section numbers below are those of examples/fleet/train/FORMAT.md,
-- which specifies config.json, the tensors' names and each formula. Weights keep the library's
-- names and PyTorch's layout [out, in].
--
-- Shapes: B rows (symbol batch), Te encoder steps (encoder), Td decoder steps (decoder), H hidden
-- units. A "block" is the name prefix of a sub-module's tensors, such as "post_attn_gate_norm".

local NORM_EPSILON = 1e-5

-- ONNX orders LSTM gates input, output, forget, cell; PyTorch input, forget, cell, output.
local ONNX_GATE_FROM_TORCH = { 1, 4, 2, 3 }

-- One model being built: g, config, weights, hidden (H), epsilon, and what the sections leave.
local model = {}
model.__index = model

-- ---- helpers ----------------------------------------------------------------------------------

function model:tensor(name, shape)
    return self.g:constant(self.weights:get(name, shape), name)
end

-- A vector of known int64 numbers: axes, shapes, bounds.
function model:numbers(...)
    return self.g:constant(self.g.int64 { ... })
end

function model:scalar(number)
    return self.g:constant(self.g.int64(number))
end

-- Elements first (from 0) to last (excluded) of one axis.
function model:slice(x, axis, first, last)
    return self.g:Slice(x, self:numbers(first), self:numbers(last), self:numbers(axis))
end

-- The size of one axis of x, as a vector of one.
function model:size_of(x, axis)
    return self:slice(self.g:Shape(x), 0, axis, axis + 1)
end

local function index_of(list, name)
    for i, other in ipairs(list) do
        if other == name then
            return i - 1
        end
    end
    error("config.json: variable '" .. name .. "' is not among its inputs", 0)
end

-- ---- 1. building blocks -----------------------------------------------------------------------

-- weight and bias under a block's name.
function model:pair(block, shape)
    return self:tensor(block .. ".weight", shape), self:tensor(block .. ".bias", { shape[1] })
end

function model:linear(x, block, outputs, inputs)
    return self.g:op("moondial.Linear", { x, self:pair(block, { outputs, inputs }) })
end

-- glu: block of the gated linear unit's Linear; norm: block of the LayerNorm. H to H.
function model:gate_add_norm(x, skip, glu, norm)
    local H = self.hidden
    local glu_weight, glu_bias = self:pair(glu, { 2 * H, H })
    return self.g:op("moondial.GateAddNorm",
        { x, skip, glu_weight, glu_bias, self:pair(norm, { H }) }, { epsilon = self.epsilon })
end

function model:gated_block(x, skip, block)
    return self:gate_add_norm(x, skip, block .. ".glu.fc", block .. ".add_norm.norm")
end

-- The weights of a gated residual network inputs -> middle -> outputs, in the operator's order.
function model:residual_weights(block, inputs, middle, outputs)
    local list = {}
    local function append(name, shape)
        list[#list + 1], list[#list + 2] = self:pair(block .. name, shape)
    end
    append(".fc1", { middle, inputs })
    append(".fc2", { middle, middle })
    append(".gate_norm.glu.fc", { 2 * outputs, middle })
    append(".gate_norm.add_norm.norm", { outputs })
    return list
end

-- The operands of a GatedResidualNetwork. context: [B, 1, H] or nil.
function model:network_operands(x, block, inputs, middle, outputs, context)
    local none = self.g.none
    local operands = { x, unpack(self:residual_weights(block, inputs, middle, outputs)) }
    operands[10], operands[11] = none, none
    if context then
        operands[10] = context
        operands[11] = self:tensor(block .. ".context.weight", { middle, self.hidden })
    end
    if inputs ~= outputs then
        local resample = block .. ".resample_norm"
        operands[12], operands[13] = self:pair(resample .. ".norm", { outputs })
        operands[14] = self:tensor(resample .. ".mask", { outputs })
    end
    return operands
end

function model:residual_network(x, block, ...)
    return self.g:op("moondial.GatedResidualNetwork", self:network_operands(x, block, ...),
        { epsilon = self.epsilon }, { name = block })
end

function model:resample_norm(x, block, inputs, outputs)
    local gamma, beta = self:pair(block .. ".norm", { outputs })
    return self.g:op("moondial.ResampleNorm",
        { x, gamma, beta, self:tensor(block .. ".mask", { outputs }) },
        { input_size = inputs, epsilon = self.epsilon })
end

-- ---- inputs -----------------------------------------------------------------------------------

-- What a row of history gave may be kept: whole (2), by variable (1) where one tells its place.
local function rolling_kind(reals)
    return table.concat(reals, "\n"):find("relative_time_idx", 1, true) and 1 or 2
end

-- The inputs of one side ("encoder" or "decoder"): cat, cont, lengths, and the number of steps.
function model:side_inputs(name, batch, sample)
    local g, config = self.g, self.config
    local steps = g:symbol(name, sample)
    local side = {
        cat = g:input(name .. "_cat", "int64", { batch, steps, #config.x_categoricals }),
        cont = g:input(name .. "_cont", "float32", { batch, steps, #config.x_reals }),
        lengths = g:input(name .. "_lengths", "int64", { batch }),
    }
    side.steps = self:size_of(side.cont, 1)
    side.rolling = name == "encoder" and rolling_kind(config.time_varying_reals_encoder) or 0
    return side
end

function model:inputs()
    local g, output_size = self.g, self.config.output_size
    local batch = g:symbol("batch", 3)
    self.encoder = self:side_inputs("encoder", batch, 5)
    self.decoder = self:side_inputs("decoder", batch, 4)
    self.several_targets = type(output_size) == "table"
    self.target_scale = g:input("target_scale", "float32",
        self.several_targets and { batch, #output_size, 2 } or { batch, 2 })
end

-- ---- 2. variables -----------------------------------------------------------------------------

-- [B, T, size]: the real variable through its own Linear; and size.
function model:prescaled(steps, name)
    local column = index_of(self.config.x_reals, name)
    local size = self.config.hidden_continuous_sizes[name]
    local x = self:slice(steps.cont, 2, column, column + 1)
    return self:linear(x, "prescalers." .. name, size, 1), size
end

-- Appends the weights of a real variable's prescaler and network, as VariableSelection wants them.
function model:append_real(operands, at, name, singles)
    local H, size = self.hidden, self.config.hidden_continuous_sizes[name]
    local network = self:network_operands(self.g.none, singles.prefix .. name, size,
        math.min(size, H), H)
    operands[at], operands[at + 1] = self:pair("prescalers." .. name, { size, 1 })
    for i = 2, 9 do
        operands[at + i] = network[i]
    end
    for i = 12, 14 do
        operands[at + i - 2] = network[i] or self.g.none
    end
end

-- ---- 4. variable selection --------------------------------------------------------------------

-- Categoricals first, then reals.
local function variables_of(categoricals, reals)
    local list = {}
    for _, name in ipairs(categoricals) do
        list[#list + 1] = { name = name, categorical = true }
    end
    for _, name in ipairs(reals) do
        list[#list + 1] = { name = name }
    end
    return list
end

function model:single_variable(x, variable, size, singles)
    local H = self.hidden
    if variable.categorical and not singles.shared then
        return self:resample_norm(x, singles.prefix .. variable.name, size, H)
    end
    return self:residual_network(x, singles.prefix .. variable.name, size, math.min(size, H), H)
end

-- A categorical variable: the sum of the embedding rows that its columns choose, [B, T, size]; the
-- same encoded, [B, T, H]; and size. A network works row by row, so where one column chooses, it is
-- the classes that are encoded, which are constants.
function model:categorical(steps, variable, singles)
    local g, config, name = self.g, self.config, variable.name
    local classes, size = unpack(config.embedding_sizes[name])
    local rows = self:tensor("input_embeddings.embeddings." .. name .. ".weight", { classes, size })
    local columns = (config.categorical_groups or {})[name] or { name }
    local sum, codes
    for _, column in ipairs(columns) do
        local index = self:scalar(index_of(config.x_categoricals, column))
        codes = g:Gather(steps.cat, index, { axis = 2 })
        local chosen = g:Gather(rows, codes, { axis = 0 })
        sum = sum and g:Add(sum, chosen) or chosen
    end
    if #columns > 1 then
        return sum, self:single_variable(sum, variable, size, singles), size
    end
    local encoded = self:single_variable(rows, variable, size, singles)
    return sum, g:Gather(encoded, codes, { axis = 0 }), size
end

-- steps: cat and cont of the steps to encode; singles: where the single-variable networks are.
-- context: [B, 1, H] or nil. Returns [B, T, H].
function model:select_variables(steps, variables, block, singles, context)
    local g, n = self.g, #variables
    if n == 0 then
        local rows = self:slice(g:Shape(steps.cont), 0, 0, 2)
        return g:ConstantOfShape(g:Concat(rows, self:numbers(self.hidden), { axis = 0 }))
    elseif n == 1 then
        if variables[1].categorical then
            local _, encoded = self:categorical(steps, variables[1], singles)
            return encoded
        end
        local x, size = self:prescaled(steps, variables[1].name)
        return self:single_variable(x, variables[1], size, singles)
    end
    return self:weighed_variables(steps, variables, block, singles, context)
end

-- Several variables: a network scores them, and the sum takes of each what its score says.
function model:weighed_variables(steps, variables, block, singles, context)
    local g, n = self.g, #variables
    local categoricals, columns, total = {}, {}, 0
    for _, variable in ipairs(variables) do
        if variable.categorical then
            local x, encoded, size = self:categorical(steps, variable, singles)
            categoricals[#categoricals + 1] = { x, encoded }
            total = total + size
        else
            columns[#columns + 1] = index_of(self.config.x_reals, variable.name)
            total = total + self.config.hidden_continuous_sizes[variable.name]
        end
    end
    local hidden = math.min(self.hidden, n)
    if #columns == 0 then
        local embedded, encoded = {}, {}
        for i, pair in ipairs(categoricals) do
            embedded[i], encoded[i] = pair[1], pair[2]
        end
        local scores = self:residual_network(g:op("Concat", embedded, { axis = -1 }),
            block .. ".flattened_grn", total, hidden, n, context)
        return g:op("moondial.WeightedSum", { g:Softmax(scores, { axis = -1 }), unpack(encoded) })
    end
    local operands = self:network_operands(steps.cont, block .. ".flattened_grn", total, hidden, n,
        context)
    for i = 12, 14 do
        operands[i] = operands[i] or g.none
    end
    for _, pair in ipairs(categoricals) do
        operands[#operands + 1], operands[#operands + 2] = pair[1], pair[2]
    end
    for _, variable in ipairs(variables) do
        if not variable.categorical then
            self:append_real(operands, #operands + 1, variable.name, singles)
        end
    end
    return g:op("moondial.VariableSelection", operands,
        { categoricals = #categoricals, columns = columns, epsilon = self.epsilon,
            rolling = steps.rolling },
        { name = block })
end

function model:select_steps(name, steps, context)
    local config, block = self.config, name .. "_variable_selection"
    local singles = { prefix = block .. ".single_variable_grns." }
    if config.share_single_variable_networks then
        singles = { prefix = "shared_single_variable_grns.", shared = true }
    end
    return self:select_variables(steps,
        variables_of(config["time_varying_categoricals_" .. name],
            config["time_varying_reals_" .. name]),
        block, singles, context)
end

-- ---- 3. static context ------------------------------------------------------------------------

-- What is static is read at the first step that there is.
function model:first_step(kind)
    local first = self:slice(self.encoder[kind], 1, 0, 1)
    local otherwise = self:slice(self.decoder[kind], 1, 0, 1)
    return self:slice(self.g:Concat(first, otherwise, { axis = 1 }), 1, 0, 1)
end

-- The four contexts, each [B, 1, H]: as LSTM states with layout 1, and to be read at every step.
function model:static_contexts()
    local H, block = self.hidden, "static_variable_selection"
    local static = { cat = self:first_step("cat"), cont = self:first_step("cont"), rolling = 0 }
    local encoding = self:select_variables(static,
        variables_of(self.config.static_categoricals, self.config.static_reals), block,
        { prefix = block .. ".single_variable_grns." })
    local contexts = {}
    for _, name in ipairs { "variable_selection", "enrichment", "initial_hidden_lstm",
        "initial_cell_lstm" } do
        contexts[name] = self:residual_network(encoding, "static_context_" .. name, H, H, H)
    end
    return contexts
end

-- ---- 5. LSTM ----------------------------------------------------------------------------------

-- One of a layer's tensors with ONNX's order of gates.
function model:gates(block, kind, layer, shape)
    local g, reordered = self.g, {}
    local x = self:tensor(("%s.%s_l%d"):format(block, kind, layer), shape)
    local gates = { g:op("Split", { x }, { axis = 0, num_outputs = 4 }, { outputs = 4 }) }
    for i, from in ipairs(ONNX_GATE_FROM_TORCH) do
        reordered[i] = gates[from]
    end
    return g:op("Concat", reordered, { axis = 0 })
end

-- Returns the outputs [B, T, H] and the last states [B, 1, H].
function model:lstm_layer(x, block, layer, lengths, hidden, cell)
    local g, H = self.g, self.hidden
    local one_direction = self:numbers(0)
    local bias = g:Concat(self:gates(block, "bias_ih", layer, { 4 * H }),
        self:gates(block, "bias_hh", layer, { 4 * H }), { axis = 0 })
    local y, last_hidden, last_cell = g:op("LSTM", {
        x,
        g:Unsqueeze(self:gates(block, "weight_ih", layer, { 4 * H, H }), one_direction),
        g:Unsqueeze(self:gates(block, "weight_hh", layer, { 4 * H, H }), one_direction),
        g:Unsqueeze(bias, one_direction),
        lengths, hidden, cell,
    }, { hidden_size = H, layout = 1 }, { outputs = 3, name = block })
    return g:Squeeze(y, self:numbers(2)), last_hidden, last_cell
end

-- Rows without history run one encoder step all the same, as far as there are steps; the decoder
-- then starts from h0 in both states, or from 0 when no row has any history.
function model:lstm(encoder_inputs, decoder_inputs, contexts)
    local g, encoder = self.g, self.encoder
    local int32 = { to = g.dtype "int32" }
    local hidden_start, cell_start = contexts.initial_hidden_lstm, contexts.initial_cell_lstm
    local encoder_lengths = g:Cast(
        g:Min(g:Max(encoder.lengths, self:numbers(1)), encoder.steps), int32)
    local decoder_lengths = g:Cast(self.decoder.lengths, int32)
    local no_history = g:Unsqueeze(g:Equal(encoder.lengths, self:numbers(0)), self:numbers(1, 2))
    local any_steps = g:Cast(g:Greater(encoder.steps, self:numbers(0)), { to = g.dtype "float32" })
    local state_without_history = g:Mul(hidden_start, any_steps)
    local e, d = encoder_inputs, decoder_inputs
    for layer = 0, self.config.lstm_layers - 1 do
        local hidden, cell
        e, hidden, cell = self:lstm_layer(e, "lstm_encoder", layer, encoder_lengths, hidden_start,
            cell_start)
        d = self:lstm_layer(d, "lstm_decoder", layer, decoder_lengths,
            g:Where(no_history, state_without_history, hidden),
            g:Where(no_history, state_without_history, cell))
    end
    return e, d
end

-- ---- 8. attention -----------------------------------------------------------------------------

-- The heads' projections as one Linear.
function model:heads_linear(x, name, head_size)
    local g, rows, biases = self.g, {}, {}
    for i = 1, self.config.attention_head_size do
        local block = ("multihead_attn.%s.%d"):format(name, i - 1)
        rows[i], biases[i] = self:pair(block, { head_size, self.hidden })
    end
    return g:op("moondial.Linear",
        { x, g:op("Concat", rows, { axis = 0 }), g:op("Concat", biases, { axis = 0 }) })
end

-- 0, 1, ... steps - 1
function model:positions(steps)
    local count = self.g:Squeeze(steps, self:numbers(0))
    return self.g:Range(self:scalar(0), count, self:scalar(1))
end

-- bool [B, 1, steps]: at or past the row's length.
function model:padding(side)
    local g = self.g
    return g:GreaterOrEqual(self:positions(side.steps),
        g:Unsqueeze(side.lengths, self:numbers(1, 2)))
end

-- bool [B, 1, keys], true where no query may look: at all keys, or at those of the encoder, where
-- the attention is causal and looks after the others itself.
function model:attention_mask()
    local history = self:padding(self.encoder)
    if self.config.causal_attention then
        return history
    end
    return self.g:Concat(history, self:padding(self.decoder), { axis = 2 })
end

-- encoder and decoder: the enriched steps of each side.
function model:attention(encoder, decoder)
    local g, config, H = self.g, self.config, self.hidden
    local heads = config.attention_head_size
    local head_size = math.floor(H / heads)
    local mask_bias = config.mask_bias == "-inf" and -math.huge or config.mask_bias or -1e9
    local all = g:Concat(encoder, decoder, { axis = 1 })
    local attended = g:op("moondial.InterpretableAttention", {
        self:heads_linear(decoder, "q_layers", head_size),
        self:heads_linear(all, "k_layers", head_size),
        self:linear(all, "multihead_attn.v_layer", head_size, H),
        self:attention_mask(),
    }, {
        heads = heads, head_size = head_size, mask_bias = g.float(mask_bias),
        causal = config.causal_attention and 1 or 0,
    })
    local out = self:tensor("multihead_attn.w_h.weight", { H, head_size })
    return self:gated_block(g:op("moondial.Linear", { attended, out }), decoder,
        "post_attn_gate_norm")
end

-- ---- 10. de-normalisation ---------------------------------------------------------------------

-- From the normaliser's space to the target's own, as the library does it (log1p like log).
local inverse = {
    none = function(_, v) return v end,
    softplus = function(g, v) return g:Softplus(v) end,
    log = function(g, v) return g:Exp(v) end,
    relu = function(g, v) return g:Relu(v) end,
    sqrt = function(g, v) return g:Mul(v, v) end,
    logit = function(g, v)
        return g:Clip(g:Sigmoid(v), g:constant(1.17549435e-38), g:constant(1 - 1.1920929e-7))
    end,
}
inverse.count, inverse.log1p = inverse.softplus, inverse.log

-- scale: [B, 2], the rows' center and scale.
function model:denormalise(raw, target, scale)
    local g, normalizer = self.g, target.normalizer
    if normalizer.kind == "label" then
        return raw
    end
    local name = type(normalizer.transformation) == "string" and normalizer.transformation or "none"
    if not inverse[name] then
        error("config.json: unknown target transformation '" .. name .. "'", 0)
    end
    local center = g:Unsqueeze(self:slice(scale, 1, 0, 1), self:numbers(2)) -- [B, 1, 1]
    local spread = g:Unsqueeze(self:slice(scale, 1, 1, 2), self:numbers(2))
    return inverse[name](g, g:Add(g:Mul(raw, spread), center))
end

-- ---- 9. outputs -------------------------------------------------------------------------------

function model:outputs(x)
    local g, sizes, targets = self.g, self.config.output_size, self.config.targets
    if not self.several_targets then
        local raw = self:linear(x, "output_layer", sizes, self.hidden)
        g:output("prediction", self:denormalise(raw, targets[1], self.target_scale))
        return
    end
    for i, size in ipairs(sizes) do
        local raw = self:linear(x, ("output_layer.%d"):format(i - 1), size, self.hidden)
        local scale = g:Gather(self.target_scale, self:scalar(i - 1), { axis = 1 })
        g:output(("prediction_%d"):format(i - 1), self:denormalise(raw, targets[i], scale))
    end
end

-- ---- the whole model --------------------------------------------------------------------------

function model:build()
    local H = self.hidden
    self:inputs()
    local contexts = self:static_contexts()
    local e = self:select_steps("encoder", self.encoder, contexts.variable_selection)
    local d = self:select_steps("decoder", self.decoder, contexts.variable_selection)
    local lstm_e, lstm_d = self:lstm(e, d, contexts)

    local function skip(output, input) -- section 6
        return self:gate_add_norm(output, input, "post_lstm_gate_encoder.fc",
            "post_lstm_add_norm_encoder.norm")
    end
    local function enrich(x) -- section 7
        return self:residual_network(x, "static_enrichment", H, H, H, contexts.enrichment)
    end
    local locality = skip(lstm_d, d)
    local attention = self:attention(enrich(skip(lstm_e, e)), enrich(locality))
    local output = self:residual_network(attention, "pos_wise_ff", H, H, H)
    self:outputs(self:gated_block(output, locality, "pre_output_gate_norm"))
end

return function(g, config, weights)
    setmetatable({
        g = g, config = config, weights = weights,
        hidden = config.hidden_size,
        epsilon = g.float(NORM_EPSILON),
    }, model):build()
end
